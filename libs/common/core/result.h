// What a function answers that may say no.
//
// A refusal is a value: the caller asked for something that cannot be, and is told which of the
// standard gRPC codes that is, why, and which fields are to blame. A dependency that is broken is
// an exception instead. Never one for the other.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace shop {

// The canonical codes of gRPC, with their numbers; see https://grpc.io/docs/guides/status-codes/.
enum class Code : int {
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kOutOfRange = 11,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
  kUnauthenticated = 16,
};

// "NOT_FOUND" and so on.
const char* Name(Code code);

struct FieldViolation {
  std::string field;  // JSON path: items[2].quantity
  std::string message;
};

struct Refusal {
  Code code;
  std::string message;
  std::vector<FieldViolation> details = {};
  // Finer than the code, for programs, such as OUT_OF_STOCK; takes the code's place in `error.code`
  // of the HTTP answer when not empty.
  std::string reason = {};
  // Seconds after which the same request may be answered, where that is known; 0 where it is not.
  int retry_after = 0;
};

// Thrown when something this process depends on (a database, a broker, another service) is away or
// too late. The caller may try again; the rpc wrapper answers UNAVAILABLE, a consumer waits.
class Unavailable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The refusal of one field.
inline Refusal InvalidField(std::string field, std::string message) {
  Refusal refusal{Code::kInvalidArgument, "the request is not valid"};
  refusal.details.push_back({std::move(field), std::move(message)});
  return refusal;
}

// The refusal of a change that was meant for another version of the thing (If-Match).
inline Refusal VersionChanged() {
  return {.code = Code::kFailedPrecondition,
          .message = "it has changed since the version that the change is for",
          .reason = "VERSION_CHANGED"};
}

template <typename T>
class [[nodiscard]] Result {
 public:
  using Value = T;

  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Refusal refusal) : state_(std::in_place_index<1>, std::move(refusal)) {}

  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  const Refusal& refusal() const { return std::get<1>(state_); }

 private:
  std::variant<T, Refusal> state_;
};

struct Done {};
inline constexpr Done kDone{};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result(Done) {}
  Result(Refusal refusal) : refusal_(std::move(refusal)), refused_(true) {}

  explicit operator bool() const { return !refused_; }
  const Refusal& refusal() const { return refusal_; }

 private:
  Refusal refusal_{};
  bool refused_ = false;
};

}  // namespace shop
