#include "gateway/http/request_parser.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

namespace shop::gateway {
namespace {

namespace http = boost::beast::http;

// Of a header and a trailer together. Browsers send some 20.
constexpr size_t kMostFields = 100;
// What a field takes of memory besides its text: Beast's element and HttpRequest's entry.
constexpr size_t kFieldBytes = 128;
// The memory that a body begins with, and from where on it has memory of its own.
constexpr size_t kFirstBytes = 4096;
constexpr size_t kLargeBytes = 16 * 1024;

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
  field_bytes_ += kFieldBytes + text.size() + value.size();
  get().insert(name, text, value);
}

}  // namespace shop::gateway
