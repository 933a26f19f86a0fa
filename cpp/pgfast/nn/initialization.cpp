#include "pgfast/nn/initialization.hpp"

#include <algorithm>

#include <Eigen/QR>

#include "pgfast/base/random.hpp"

namespace pgfast {
namespace {

constexpr std::uint16_t kStream = 1;  // stream of the initial weights; python/pgfast/_streams.py lists all streams

}  // namespace

template <typename Scalar>
void orthogonal(Scalar* weight, Index rows, Index columns, Scalar gain, std::uint64_t seed, std::uint32_t layer) {
  const Index tall = std::max(rows, columns);
  const Index thin = std::min(rows, columns);
  Eigen::Matrix<Scalar, Eigen::Dynamic, Eigen::Dynamic> normal(tall, thin);
  for (Index i = 0; i < normal.size(); i += 2) {
    const auto pair = normal_pair(random_block(seed, kStream, layer, static_cast<std::uint64_t>(i / 2)));
    normal.data()[i] = static_cast<Scalar>(pair[0]);
    if (i + 1 < normal.size()) normal.data()[i + 1] = static_cast<Scalar>(pair[1]);
  }
  Eigen::HouseholderQR<decltype(normal)> qr(normal);
  decltype(normal) q = decltype(normal)::Identity(tall, thin);
  q.applyOnTheLeft(qr.householderQ());
  // Without the sign of R's diagonal, Q would not be uniform (Mezzadri, 2007).
  for (Index j = 0; j < thin; ++j) q.col(j) *= qr.matrixQR()(j, j) < Scalar(0) ? -gain : gain;
  MatrixView<Scalar> target(weight, rows, columns);
  if (rows >= columns)
    target = q;
  else
    target = q.transpose();
}

template void orthogonal(float*, Index, Index, float, std::uint64_t, std::uint32_t);
template void orthogonal(double*, Index, Index, double, std::uint64_t, std::uint32_t);

}  // namespace pgfast
