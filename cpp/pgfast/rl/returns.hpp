// Returns and advantages of time-major rollouts [T, N].
#pragma once

#include <cstdint>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// R_t = r_t + discount (1 - d_t) R_{t+1}, R_T = next_values [N].
template <typename Scalar>
void discounted_returns(Index steps, Index environments, const Scalar* rewards, const bool* dones,
                        const Scalar* next_values, double discount, Scalar* returns);

/// V of the state that follows each row. Exactly one pointer is not null: `last` [N] holds V after the last row, and
/// earlier rows use the next row's value; `all` [T, N] holds V of every row's true successor.
template <typename Scalar>
struct NextValues {
  const Scalar* last;
  const Scalar* all;
};

/// Generalized advantage estimation (Schulman et al., 2016, equations 11 to 16):
/// delta_t = r_t + discount (1 - terminated_t) V_{t+1} - V_t,
/// A_t = delta_t + discount lambda (1 - terminated_t)(1 - truncated_t) A_{t+1}, and returns_t = A_t + V_t.
/// `truncated` may be null.
template <typename Scalar>
void gae(Index steps, Index environments, const Scalar* rewards, const Scalar* values, NextValues<Scalar> next_values,
         const bool* terminated, const bool* truncated, double discount, double gae_lambda, Scalar* advantages,
         Scalar* returns);

}  // namespace pgfast
