#include "pgfast/base/second_signal.hpp"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>

namespace pgfast {
namespace {

constexpr int kSignals = 32;  // above the numbers of the standard POSIX signals

std::atomic<int> received{0};
std::atomic<pid_t> owner{0};
struct sigaction previous[kSignals];

static_assert(std::atomic<int>::is_always_lock_free);  // a signal handler may use no other atomics

extern "C" void handle(int number) {
  const int error = errno;
  if (getpid() == owner.load() && received.fetch_add(1) > 0 && number != SIGHUP) _exit(128 + number);
  previous[number].sa_handler(number);
  errno = error;
}

}  // namespace

void count_signals_anew() {
  received = 0;
  owner = getpid();
}

bool exit_at_second_signal(int number) {
  struct sigaction action;
  if (number < 1 || number >= kSignals || sigaction(number, nullptr, &action) != 0) return false;
  const auto installed = action.sa_handler;
  if (installed == &handle) return true;  // the previous handler is already saved
  if ((action.sa_flags & SA_SIGINFO) != 0 || installed == SIG_DFL || installed == SIG_IGN) return false;
  previous[number] = action;
  action.sa_handler = &handle;
  return sigaction(number, &action, nullptr) == 0;
}

}  // namespace pgfast
