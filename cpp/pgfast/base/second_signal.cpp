#include "pgfast/base/second_signal.hpp"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>

namespace pgfast {
namespace {

constexpr int kNumbers = 32;  // the signals that POSIX names

std::atomic<int> received{0};
std::atomic<pid_t> owner{0};
struct sigaction before[kNumbers];

static_assert(std::atomic<int>::is_always_lock_free);  // all that a signal handler may use

extern "C" void handle(int number) {
  const int error = errno;
  if (getpid() == owner.load() && received.fetch_add(1) > 0) _exit(128 + number);
  before[number].sa_handler(number);
  errno = error;
}

}  // namespace

void count_signals_anew() {
  received = 0;
  owner = getpid();
}

bool exit_at_second_signal(int number) {
  struct sigaction action;
  if (number < 1 || number >= kNumbers || sigaction(number, nullptr, &action) != 0) return false;
  const auto there = action.sa_handler;
  if (there == &handle) return true;  // what was before it is known already
  if ((action.sa_flags & SA_SIGINFO) != 0 || there == SIG_DFL || there == SIG_IGN) return false;
  before[number] = action;
  action.sa_handler = &handle;
  return sigaction(number, &action, nullptr) == 0;
}

}  // namespace pgfast
