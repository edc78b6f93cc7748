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

TEST(Log, WritesTheBeginningOfALongText) {
  const std::string line = Logged([] {
    Info("request", {{"path", "/" + std::string(16000, 'x')}, {"status", 404}});
  });
  const std::string shown = "\"/" + std::string(1023, 'x') + "… (16001 bytes)\",\"status\":404}\n";
  EXPECT_TRUE(line.ends_with(shown)) << line;
  // The cut does not go through a character.
  const std::string wide = Logged([] { Info(std::string(1022, 'x') + "\U0001F600", {}); });
  EXPECT_NE(wide.find(std::string(1022, 'x') + "… (1026 bytes)\""), std::string::npos) << wide;
  EXPECT_NE(Logged([] { Info(std::string(1024, 'y')); }).find(std::string(1024, 'y') + "\""),
            std::string::npos);
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
