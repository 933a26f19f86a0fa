// What Python's own handlers cannot do: end the process while a long native call keeps the interpreter from running.
#pragma once

namespace pgfast {

/// From now on the first signal `number` of this process goes to the handler that is there, Python's, and any further
/// one of a number that was given ends the process at once, with status 128 + number. Counting begins anew with every
/// call of count_signals_anew(). Processes forked meanwhile are left alone. A handler that is set afterwards, as by
/// Python's signal.signal, replaces this. False where the system refuses.
bool exit_at_second_signal(int number);

void count_signals_anew();

}  // namespace pgfast
