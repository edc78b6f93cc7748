#include "gateway/http/request_parser.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <string_view>

namespace shop::gateway {
namespace {

namespace http = boost::beast::http;

// Of a header and a trailer together. Browsers send some 20.
constexpr size_t kMostFields = 100;
// What a field takes of memory besides its text: Beast's element and HttpRequest's entry.
constexpr size_t kFieldBytes = 128;
// Of all chunks of a request together. No client is known to send any.
constexpr size_t kMostExtensionBytes = 8192;
// The memory that a body begins with, and from where on it has memory of its own.
constexpr size_t kFirstBytes = 4096;
constexpr size_t kLargeBytes = 16 * 1024;

// Whether a line begins with white space.
bool HasFold(std::string_view lines) {
  return lines.find("\n ") != std::string_view::npos ||
         lines.find("\n\t") != std::string_view::npos;
}

void Resize(Block* block, size_t size) {
  void* data =
      *block ? mremap(block->get(), block->get_deleter().size, size, MREMAP_MAYMOVE)
             : mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) throw std::bad_alloc();
  block->release();  // mremap has taken it
  *block = Block(static_cast<char*>(data), Unmap{size});
}

}  // namespace

void Unmap::operator()(char* block) const {
  munmap(block, size);
}

bool IncomingBody::Append(const void* data, size_t size) {
  if (share_ == nullptr || size == 0) return true;
  if (size > limit_ - size_) return false;
  if (size_ + size > capacity_ && !Grow(size_ + size)) return false;
  std::memcpy(bytes() + size_, data, size);
  size_ += size;
  return true;
}

// By powers of two, and never to more than the limit.
bool IncomingBody::Grow(size_t least) {
  const size_t capacity = std::min(std::bit_ceil(std::max(least, kFirstBytes)), limit_);
  if (share_->Take(capacity - capacity_) != ClientLimits::Verdict::kGiven) return false;
  if (capacity >= kLargeBytes) {
    Resize(&large_, capacity);
    if (small_) std::memcpy(large_.get(), small_.get(), size_);
    small_.reset();
  } else {
    std::unique_ptr<char[]> larger(new char[capacity]);
    if (small_) std::memcpy(larger.get(), small_.get(), size_);
    small_ = std::move(larger);
  }
  capacity_ = capacity;
  return true;
}

size_t RequestParser::put(boost::asio::const_buffer bytes, boost::system::error_code& error) {
  const bool was_header_done = is_header_done();
  const size_t used = basic_parser::put(bytes, error);
  // What was used ends with a whole line: Beast looks at what follows one before it takes it.
  if ((!was_header_done || (chunked() && is_done())) &&
      HasFold({static_cast<const char*>(bytes.data()), used})) {
    error = http::error::bad_obs_fold;
  }
  return used;
}

bool RequestParser::has_too_many_fields() const {
  return fields_ > kMostFields;
}

void RequestParser::on_field_impl(http::field name, boost::beast::string_view text,
                                  boost::beast::string_view value,
                                  boost::system::error_code& error) {
  if (++fields_ > kMostFields) {
    error = http::error::header_limit;
    return;
  }
  if (is_header_done()) return;  // of a trailer
  field_bytes_ += kFieldBytes + text.size() + value.size();
  get().insert(name, text, value);
}

void RequestParser::on_chunk_header_impl(uint64_t /*size*/, boost::beast::string_view extensions,
                                         boost::system::error_code& error) {
  extension_bytes_ += extensions.size();
  if (extension_bytes_ > kMostExtensionBytes) error = http::error::buffer_overflow;
}

}  // namespace shop::gateway
