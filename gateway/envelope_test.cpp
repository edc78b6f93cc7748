#include "gateway/envelope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/testing/library.pb.h"

namespace shop::gateway {
namespace {

TEST(Answers, CarryTheMessageInTheirEnvelope) {
  shop::testing::v1::Book book;
  book.set_id(7);
  book.set_title("T");
  book.set_price(999);
  EXPECT_EQ(Envelope(201, book),
            R"({"success":true,"statusCode":201,)"
            R"("data":{"id":7,"title":"T","price":9.99,"genre":"UNSPECIFIED"}})");
}

TEST(Errors, SayWhatHappenedWhereAndToWhichField) {
  const std::vector<FieldViolation> details{{"items[0].quantity", "must be \"small\""},
                                            {"email", "is missing"}};
  Error error{400, "INVALID_ARGUMENT", "not valid", &details, "/a\"b\xff", "r-1"};
  error.time = std::chrono::sys_days(std::chrono::year(2026) / 1 / 31) + std::chrono::hours(12) +
               std::chrono::microseconds(7999);
  EXPECT_EQ(ErrorBody(error),
            R"({"success":false,"statusCode":400,"timestamp":"2026-01-31T12:00:00.007Z",)"
            "\"path\":\"/a\\\"b\xef\xbf\xbd\","
            R"("error":{"code":"INVALID_ARGUMENT","message":"not valid",)"
            R"("details":[{"field":"items[0].quantity","message":"must be \"small\""},)"
            R"({"field":"email","message":"is missing"}]},"requestId":"r-1"})");
}

TEST(Statuses, FollowTheCodes) {
  const std::pair<Code, int> expected[] = {
      {Code::kInvalidArgument, 400},    {Code::kOutOfRange, 400},
      {Code::kUnauthenticated, 401},    {Code::kPermissionDenied, 403},
      {Code::kNotFound, 404},           {Code::kAlreadyExists, 409},
      {Code::kFailedPrecondition, 409}, {Code::kAborted, 409},
      {Code::kResourceExhausted, 429},  {Code::kInternal, 500},
      {Code::kUnimplemented, 501},      {Code::kUnavailable, 503},
      {Code::kDeadlineExceeded, 504}};
  for (const auto& [code, status] : expected) {
    EXPECT_EQ(StatusOf(Refusal{code, ""}), status) << Name(code);
  }
}

TEST(Statuses, AKeyUsedAgainForSomethingElseIs422) {
  EXPECT_EQ(StatusOf({Code::kFailedPrecondition, "", {}, "IDEMPOTENCY_KEY_REUSED"}), 422);
  EXPECT_EQ(StatusOf({Code::kFailedPrecondition, "", {}, "OUT_OF_STOCK"}), 409);
}

}  // namespace
}  // namespace shop::gateway
