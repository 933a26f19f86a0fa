// The gradient of a loss as three numbers a row.
#pragma once

namespace pgfast {

/// d loss / d log_prob, entropy and value of each row, [rows] each. Null is zero, or what is not asked for.
template <typename Number>
struct RowGradients {
  Number* log_prob = nullptr;
  Number* entropy = nullptr;
  Number* values = nullptr;
};

}  // namespace pgfast
