// A symmetric linear map that is known by its products alone.
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

  /// product [size] = A v. Not const: an operator keeps working memory of its own, for one thread at a time.
  virtual void apply(const Scalar* v, Scalar* product) = 0;

  /// To be held by a thread that applies an operator which others may know; they wait for it.
  std::unique_lock<std::mutex> exclusive() { return std::unique_lock(mutex_); }

 private:
  std::mutex mutex_;
};

}  // namespace pgfast
