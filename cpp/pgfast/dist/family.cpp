#include "pgfast/dist/family.hpp"

#include "pgfast/dist/categorical.hpp"
#include "pgfast/dist/diag_gaussian.hpp"
#include "pgfast/dist/multi_categorical.hpp"

namespace pgfast {

template <typename Scalar>
void sample_choices(const FamilyRows<Scalar>& rows, std::uint64_t seed, std::uint16_t stream,
                    std::uint32_t first_environment, std::uint64_t step, std::int64_t* actions, Scalar* log_prob) {
  const std::vector<Index>& sizes = rows.family.sizes;
  if (rows.family.kind == Family::Kind::categorical)
    categorical_sample<Scalar>({rows.outputs, rows.rows, sizes.front(), rows.ld}, seed, stream, first_environment, step,
                               actions, log_prob);
  else
    multi_categorical_sample<Scalar>({rows.outputs, rows.rows, sizes.data(), static_cast<Index>(sizes.size()), rows.ld},
                                     seed, stream, first_environment, step, actions, log_prob);
}

template <typename Scalar>
void sample_components(const FamilyRows<Scalar>& rows, std::uint64_t seed, std::uint16_t stream,
                       std::uint32_t first_environment, std::uint64_t step, Scalar* actions, Scalar* log_prob) {
  const Index components = rows.family.sizes.front();
  const bool output = rows.family.log_std_output;
  diag_gaussian_sample<Scalar>({rows.outputs, rows.rows, components, rows.ld,
                                output ? rows.outputs + components : rows.log_std, output ? rows.ld : 0},
                               seed, stream, first_environment, step, actions, log_prob);
}

#define PGFAST_INSTANTIATE(Scalar)                                                                                    \
  template void sample_choices(const FamilyRows<Scalar>&, std::uint64_t, std::uint16_t, std::uint32_t, std::uint64_t, \
                               std::int64_t*, Scalar*);                                                               \
  template void sample_components(const FamilyRows<Scalar>&, std::uint64_t, std::uint16_t, std::uint32_t,             \
                                  std::uint64_t, Scalar*, Scalar*);
PGFAST_INSTANTIATE(float)
PGFAST_INSTANTIATE(double)
#undef PGFAST_INSTANTIATE

}  // namespace pgfast
