// The inputs and results of a step of N environments: actions, flags, and a row of a rollout.
#pragma once

#include <cstdint>

#include "pgfast/base/types.hpp"

namespace pgfast {

/// out [rows, columns] = the numbers that an environment takes: [-1, 1] is mapped onto [low, high] in the columns that
/// are `scaled` (null: none), and all are clipped to these bounds. Returns the first row with a number that is not
/// finite, -1 if there is none.
template <typename Scalar, typename Number>
Index to_bounds(Index rows, Index columns, const Scalar* actions, const double* low, const double* high,
                const bool* scaled, Number* out);

/// Whether column k of choices [rows, columns] is in [0, sizes[k]) in every row.
bool are_choices(Index rows, Index columns, const std::int64_t* choices, const std::int64_t* sizes);

/// The flags of a step, [n] each.
struct StepFlags {
  bool* stepped;  // the step belongs to an episode: it did not only reset the environment
  bool* terminated;
  bool* truncated;  // also where the environment was replaced: the rows before are not valid
  bool* ended;      // the episode ended
};

/// Reads the flags that n environments returned. `reset` says where the step only reset, `restarted` where the
/// environment was replaced.
void read_flags(Index n, const bool* terminated, const bool* truncated, const bool* reset, const bool* restarted,
                const StepFlags& flags);

/// Adds a step of n environments to the `returns` and `lengths` of their open episodes.
void add_step(Index n, const double* rewards, const bool* stepped, double* returns, std::int64_t* lengths);

/// The arrays of a rollout: `time` [T + 1, n], the others [T, n].
template <typename Scalar>
struct RolloutRows {
  Scalar* rewards;
  bool* terminated;
  bool* truncated;
  bool* valid;
  std::int64_t* time;
};

/// Writes row t, and to row t + 1 of `time` the steps since the reset: 0 after a step that only reset.
template <typename Scalar>
void store_row(Index t, Index n, const double* rewards, const bool* terminated, const bool* truncated,
               const bool* valid, const bool* stepped, const RolloutRows<Scalar>& rollout);

}  // namespace pgfast
