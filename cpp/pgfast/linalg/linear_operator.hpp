// A symmetric linear map that is known by its products alone.
#pragma once

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
};

}  // namespace pgfast
