#include "pgfast/nn/lstm.hpp"

#include <algorithm>

namespace pgfast {

template <typename Scalar>
void Lstm<Scalar>::initialize_bias(Scalar* bias) const {
  std::fill_n(bias, this->kParts * this->size_, Scalar(0));
  std::fill_n(bias + this->size_, this->size_, Scalar(1));
}

template <typename Scalar>
void Lstm<Scalar>::forward(Scalar* linear, const Scalar* before, Index rows, Scalar* output, Scalar* rest) const {
  const Index size = this->size_;
  for (Index row = 0; row < rows;
       ++row, linear += this->kParts * size, before += 2 * size, output += size, rest += size) {
    ConstArrayView<Scalar> i(linear, size);
    ConstArrayView<Scalar> f(linear + size, size);
    ArrayView<Scalar> g(linear + 2 * size, size);
    ConstArrayView<Scalar> o(linear + 3 * size, size);
    ArrayView<Scalar> c(rest, size);
    sigmoid(linear, 2 * size);
    g = g.tanh();
    sigmoid(linear + 3 * size, size);
    c = i * g;  // in two steps, so that every compiler fuses the same multiplication with the addition
    c += f * ConstArrayView<Scalar>(before + size, size);
    ArrayView<Scalar>(output, size) = o * c.tanh();
  }
}

template <typename Scalar>
void Lstm<Scalar>::backward(const Scalar* gates, const Scalar* before, const Scalar* rest, Index rows, Scalar* dstate,
                            Scalar* deltas, Index ld) const {
  const Index size = this->size_;
  constexpr auto one = Scalar(1);
  for (Index row = 0; row < rows;
       ++row, gates += this->kParts * size, before += 2 * size, rest += size, dstate += 2 * size, deltas += ld) {
    ConstArrayView<Scalar> i(gates, size);
    ConstArrayView<Scalar> f(gates + size, size);
    ConstArrayView<Scalar> g(gates + 2 * size, size);
    ConstArrayView<Scalar> o(gates + 3 * size, size);
    ConstArrayView<Scalar> c(before + size, size);
    ArrayView<Scalar> dh(dstate, size);
    ArrayView<Scalar> dc(dstate + size, size);
    ArrayView<Scalar> di(deltas, size);
    ArrayView<Scalar> df(deltas + size, size);
    ArrayView<Scalar> dg(deltas + 2 * size, size);
    ArrayView<Scalar> d_o(deltas + 3 * size, size);
    dg = ConstArrayView<Scalar>(rest, size).tanh();  // tanh(c'), until its place is needed
    d_o = dh * dg * (o * (one - o));
    dc += dh * o * (one - dg * dg);
    di = dc * g * (i * (one - i));
    df = dc * c * (f * (one - f));
    dg = dc * i * (one - g * g);
    dc *= f;
    dh.setZero();  // all of h_before goes through the linear parts
  }
}

template <typename Scalar>
void Lstm<Scalar>::jvp(const Scalar* gates, const Scalar* before, const Scalar* rest, Index rows, const Scalar* dlinear,
                       Index ld, const Scalar* dbefore, Scalar* doutput, Scalar* drest) const {
  const Index size = this->size_;
  constexpr auto one = Scalar(1);
  for (Index row = 0; row < rows; ++row, gates += this->kParts * size, before += 2 * size, rest += size, dlinear += ld,
             dbefore += 2 * size, doutput += size, drest += size) {
    ConstArrayView<Scalar> i(gates, size);
    ConstArrayView<Scalar> f(gates + size, size);
    ConstArrayView<Scalar> g(gates + 2 * size, size);
    ConstArrayView<Scalar> o(gates + 3 * size, size);
    ConstArrayView<Scalar> c(before + size, size);
    const auto part = [=](Index k) { return ConstArrayView<Scalar>(dlinear + k * size, size); };
    ArrayView<Scalar> dh(doutput, size);
    ArrayView<Scalar> dc(drest, size);
    dc = f * (one - f) * part(1) * c + f * ConstArrayView<Scalar>(dbefore + size, size) + i * (one - i) * part(0) * g +
         i * (one - g * g) * part(2);
    dh = ConstArrayView<Scalar>(rest, size).tanh();
    dh = o * (one - o) * part(3) * dh + o * (one - dh * dh) * dc;
  }
}

template class Lstm<float>;
template class Lstm<double>;

}  // namespace pgfast
