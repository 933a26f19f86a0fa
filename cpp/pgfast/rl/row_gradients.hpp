// The gradient of a loss as three numbers per row.
#pragma once

namespace pgfast {

/// d loss / d log_prob, entropy and value of each row, [rows] each. Null stands for a zero input or an output that
/// is not requested.
template <typename Number>
struct RowGradients {
  Number* log_prob = nullptr;
  Number* entropy = nullptr;
  Number* values = nullptr;
};

}  // namespace pgfast
