#include "common/telemetry/log.h"

#include <gtest/gtest.h>

namespace shop::log {
namespace {

std::string Logged(const std::function<void()>& work) {
  testing::internal::CaptureStdout();
  work();
  return testing::internal::GetCapturedStdout();
}

TEST(Log, WritesOneJsonLineWithTypedFields) {
  Init("orders", Level::kInfo);
  const std::string line = Logged([] {
    Info("order placed", {{"orderId", 7}, {"late", false}, {"user", "ann"}});
  });
  EXPECT_NE(
      line.find(
          R"("process":"orders","message":"order placed","orderId":7,"late":false,"user":"ann"})"
          "\n"),
      std::string::npos)
      << line;
}

TEST(Log, EscapesWhatWouldBreakTheLine) {
  const std::string line = Logged([] { Info("a\"b\\c\nd\x01", {}); });
  EXPECT_NE(line.find(R"("message":"a\"b\\c\nd\u0001")"), std::string::npos) << line;
}

TEST(Log, LeavesOutWhatIsBelowTheLevel) {
  Init("orders", Level::kWarning);
  EXPECT_EQ(Logged([] { Info("quiet"); }), "");
  Init("orders", Level::kInfo);
}

TEST(Log, AScopeAddsItsFieldsUntilItEnds) {
  {
    const Scope scope({{"traceId", "abc"}});
    EXPECT_NE(Logged([] { Info("inside"); }).find(R"("traceId":"abc")"), std::string::npos);
  }
  EXPECT_EQ(Logged([] { Info("outside"); }).find("traceId"), std::string::npos);
}

}  // namespace
}  // namespace shop::log
