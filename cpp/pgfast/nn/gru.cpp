#include "pgfast/nn/gru.hpp"

#include <algorithm>

namespace pgfast {

template <typename Scalar>
void Gru<Scalar>::initialize_bias(Scalar* bias) const {
  std::fill_n(bias, this->kParts * this->size_, Scalar(0));
}

template <typename Scalar>
void Gru<Scalar>::forward(Scalar* linear, const Scalar* before, Index rows, Scalar* output, Scalar* /*rest*/) const {
  const Index size = this->size_;
  for (Index row = 0; row < rows; ++row, linear += this->kParts * size, before += size, output += size) {
    sigmoid(linear, 2 * size);
    ConstArrayView<Scalar> r(linear, size);
    ConstArrayView<Scalar> z(linear + size, size);
    ArrayView<Scalar> n(linear + 2 * size, size);
    ConstArrayView<Scalar> q(linear + 3 * size, size);
    ConstArrayView<Scalar> h(before, size);
    n = (n + r * q).tanh();
    ArrayView<Scalar>(output, size) = n + z * (h - n);
  }
}

template <typename Scalar>
void Gru<Scalar>::backward(const Scalar* gates, const Scalar* before, const Scalar* /*rest*/, Index rows,
                           Scalar* dstate, Scalar* deltas, Index ld) const {
  const Index size = this->size_;
  constexpr auto one = Scalar(1);
  for (Index row = 0; row < rows; ++row, gates += this->kParts * size, before += size, dstate += size, deltas += ld) {
    ConstArrayView<Scalar> r(gates, size);
    ConstArrayView<Scalar> z(gates + size, size);
    ConstArrayView<Scalar> n(gates + 2 * size, size);
    ConstArrayView<Scalar> q(gates + 3 * size, size);
    ConstArrayView<Scalar> h(before, size);
    ArrayView<Scalar> dh(dstate, size);
    ArrayView<Scalar> dr(deltas, size);
    ArrayView<Scalar> dz(deltas + size, size);
    ArrayView<Scalar> dn(deltas + 2 * size, size);
    ArrayView<Scalar> dq(deltas + 3 * size, size);
    dz = dh * (h - n) * (z * (one - z));
    dn = dh * (one - z) * (one - n * n);
    dq = dn * r;
    dr = dn * q * (r * (one - r));
    dh *= z;
  }
}

template <typename Scalar>
void Gru<Scalar>::jvp(const Scalar* gates, const Scalar* before, const Scalar* /*rest*/, Index rows,
                      const Scalar* dlinear, Index ld, const Scalar* dbefore, Scalar* doutput,
                      Scalar* /*drest*/) const {
  const Index size = this->size_;
  constexpr auto one = Scalar(1);
  for (Index row = 0; row < rows;
       ++row, gates += this->kParts * size, before += size, dlinear += ld, dbefore += size, doutput += size) {
    ConstArrayView<Scalar> r(gates, size);
    ConstArrayView<Scalar> z(gates + size, size);
    ConstArrayView<Scalar> n(gates + 2 * size, size);
    ConstArrayView<Scalar> q(gates + 3 * size, size);
    ConstArrayView<Scalar> h(before, size);
    const auto part = [=](Index k) { return ConstArrayView<Scalar>(dlinear + k * size, size); };
    ArrayView<Scalar> dn(doutput, size);
    dn = (part(2) + r * (one - r) * part(0) * q + r * part(3)) * (one - n * n);
    dn = (one - z) * dn + z * ConstArrayView<Scalar>(dbefore, size) + z * (one - z) * part(1) * (h - n);
  }
}

template class Gru<float>;
template class Gru<double>;

}  // namespace pgfast
