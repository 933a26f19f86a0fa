// A symmetric linear map that is known only by its products.
#pragma once

#include <mutex>

#include "pgfast/base/types.hpp"

namespace pgfast {

template <typename Scalar>
class LinearOperator {
 public:
  virtual ~LinearOperator() = default;

  /// n of the n x n map.
  virtual Index size() const = 0;

  /// product [size] = A v. Not const: an operator has working memory, which one thread may use at a time.
  virtual void apply(const Scalar* v, Scalar* product) = 0;

  /// Locks the operator. A thread that applies an operator which other threads may apply must hold this lock.
  std::unique_lock<std::mutex> exclusive() { return std::unique_lock(mutex_); }

 private:
  std::mutex mutex_;
};

}  // namespace pgfast
