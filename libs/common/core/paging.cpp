#include "common/core/paging.h"

#include <charconv>

#include "common/crypto/base64.h"
#include "common/crypto/sha256.h"

namespace shop {
namespace {

// No value holds it: PostgreSQL keeps no text with a NUL.
constexpr char kSeparator = '\0';
constexpr size_t kFingerprintLength = 16;

}  // namespace

Refusal InvalidCursor() {
  return InvalidField("cursor", "is not one that this list has given out");
}

std::optional<int64_t> CursorNumber(const std::string& value) {
  int64_t number = 0;
  const char* end = value.data() + value.size();
  const auto [rest, error] = std::from_chars(value.data(), end, number);
  if (error != std::errc() || rest != end) return std::nullopt;
  return number;
}

std::optional<int64_t> Page::TotalFrom(int64_t rows) const {
  if (rows > limit || (rows == 0 && offset() > 0)) return std::nullopt;
  return offset() + rows;
}

Result<Page> MakePage(std::optional<int32_t> number, std::optional<int32_t> limit,
                      const std::string& cursor, const std::string& query, size_t values) {
  Page page;
  page.limit = limit.value_or(page.limit);
  page.number = number.value_or(page.number);
  page.fingerprint = Sha256Hex(query).substr(0, kFingerprintLength);
  if (cursor.empty()) {
    if (page.offset() < kMostByNumber) return page;
    return InvalidField("page", "is too deep: only the first " + std::to_string(kMostByNumber) +
                                    " are reached by number, go on by nextCursor");
  }
  if (number) return InvalidField("page", "cannot be given together with a cursor");

  const std::optional<std::string> text = DecodeBase64(cursor);
  if (!text || !text->starts_with(page.fingerprint)) return InvalidCursor();
  for (size_t at = page.fingerprint.size(); at < text->size();) {
    if ((*text)[at] != kSeparator) return InvalidCursor();
    const size_t end = std::min(text->find(kSeparator, at + 1), text->size());
    page.after.push_back(text->substr(at + 1, end - at - 1));
    at = end;
  }
  if (page.after.size() != values) return InvalidCursor();
  return page;
}

std::string MakeCursor(const Page& page, const std::vector<std::string>& values) {
  std::string text = page.fingerprint;
  for (const std::string& value : values) {
    text += kSeparator;
    text += value;
  }
  return EncodeBase64Url(text);
}

}  // namespace shop
