#include "pgfast/base/thread_pool.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

namespace pgfast {
namespace {

using thread_pool_detail::ChunkFunction;

// Number of times that an idle worker polls for the next job before it sleeps: enough to bridge the gap between two
// layers of a network, too few to take a core from the emulators.
constexpr int kSpins = 400;

thread_local bool inside_chunk = false;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct Job {
  ChunkFunction function = nullptr;
  void* context = nullptr;
  Index chunks = 0;
  int max_workers = 0;
  std::atomic<Index> next{0};
  std::atomic<bool> failed{false};
  std::mutex error_mutex;
  Index error_chunk = std::numeric_limits<Index>::max();
  std::exception_ptr error;

  void work() {
    inside_chunk = true;
    while (!failed.load(std::memory_order_relaxed)) {
      const Index chunk = next.fetch_add(1, std::memory_order_relaxed);
      if (chunk >= chunks) break;
      try {
        function(context, chunk);
      } catch (...) {
        std::lock_guard lock(error_mutex);
        failed.store(true, std::memory_order_relaxed);
        if (chunk < error_chunk) {
          error_chunk = chunk;
          error = std::current_exception();
        }
      }
    }
    inside_chunk = false;
  }
};

class ThreadPool {
 public:
  int size() const { return size_.load(std::memory_order_relaxed); }

  void resize(int threads) {
    std::lock_guard one_job_at_a_time(run_mutex_);
    stop_workers();
    size_.store(threads, std::memory_order_relaxed);
  }

  void run(Index chunks, Index most_threads, ChunkFunction function, void* context) {
    std::unique_lock one_job_at_a_time(run_mutex_, std::defer_lock);
    Job job;
    job.function = function;
    job.context = context;
    job.chunks = chunks;
    job.max_workers = static_cast<int>(std::min<Index>({chunks, most_threads, size()})) - 1;
    if (job.max_workers > 0 && !inside_chunk && one_job_at_a_time.try_lock()) {
      start_workers();
      publish(&job);
      job.work();
      withdraw();
    } else {
      const bool nested = inside_chunk;
      job.work();
      inside_chunk = nested;
    }
    if (job.error) std::rethrow_exception(job.error);
  }

 private:
  void start_workers() {
    while (static_cast<int>(workers_.size()) < size() - 1) workers_.emplace_back([this] { worker(); });
  }

  void stop_workers() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    std::lock_guard lock(mutex_);
    stopping_ = false;
  }

  void publish(Job* job) {
    {
      std::lock_guard lock(mutex_);
      job_ = job;
      generation_.fetch_add(1, std::memory_order_release);
    }
    if (job->max_workers > 1)
      wake_.notify_all();
    else
      wake_.notify_one();
  }

  /// Stops workers from joining the job and waits for those that have joined.
  void withdraw() {
    for (int spin = 0; spin < kSpins && busy_.load(std::memory_order_acquire) != 0; ++spin) pause();
    std::unique_lock lock(mutex_);
    job_ = nullptr;
    done_.wait(lock, [this] { return busy_.load(std::memory_order_acquire) == 0; });
  }

  void worker() {
    std::uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && generation_.load(std::memory_order_acquire) == seen; ++spin) pause();
      Job* job = nullptr;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
        seen = generation_.load(std::memory_order_acquire);
        if (stopping_) return;
        job = job_;
        if (job != nullptr && busy_.load(std::memory_order_relaxed) >= job->max_workers) job = nullptr;
        if (job != nullptr) busy_.fetch_add(1, std::memory_order_relaxed);
      }
      if (job == nullptr) continue;
      job->work();
      {
        std::lock_guard lock(mutex_);
        busy_.fetch_sub(1, std::memory_order_release);
      }
      done_.notify_one();
    }
  }

  std::mutex run_mutex_;  // held while the workers are on a job and while the pool is resized
  std::mutex mutex_;      // guards job_, stopping_ and the two conditions
  std::condition_variable wake_;
  std::condition_variable done_;
  Job* job_ = nullptr;
  bool stopping_ = false;
  std::atomic<int> busy_{0};
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<int> size_{default_size()};
  std::vector<std::thread> workers_;

  static int default_size() {
    for (const char* name : {"PGFAST_NUM_THREADS", "OMP_NUM_THREADS"}) {
      if (const char* text = std::getenv(name)) {
        char* end = nullptr;
        const long value = std::strtol(text, &end, 10);
        // OpenMP allows a list with one number per level of nesting; the first applies here.
        if (end != text && (*end == '\0' || *end == ',') && value >= 1) return static_cast<int>(std::min(value, 1024L));
      }
    }
#if defined(__linux__)
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return std::max(1, CPU_COUNT(&allowed));
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
};

std::atomic<ThreadPool*> current_pool{nullptr};

// A forked child has none of the parent's threads, and mutexes of the pool may be held by threads that no longer exist.
// The child therefore abandons the old pool and starts with a new one of the same size.
void reset_after_fork() {
  if (ThreadPool* parent = current_pool.load()) {
    const int threads = parent->size();
    auto* child = new ThreadPool;
    child->resize(threads);
    current_pool.store(child);
  }
  inside_chunk = false;
}

ThreadPool& pool() {
  // Never destroyed: a worker may still be asleep in it when the process runs its static destructors.
  static ThreadPool* const first = [] {
    auto* created = new ThreadPool;
    current_pool.store(created);
    pthread_atfork(nullptr, nullptr, reset_after_fork);
    return created;
  }();
  (void)first;
  return *current_pool.load();
}

}  // namespace

int num_threads() { return pool().size(); }

void set_num_threads(int threads) { pool().resize(threads); }

void thread_pool_detail::run(Index chunks, Index most_threads, ChunkFunction function, void* context) {
  if (chunks > 0) pool().run(chunks, most_threads, function, context);
}

}  // namespace pgfast
