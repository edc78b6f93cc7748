// Parses an HTTP/1.1 request as it comes in, in a limited amount of memory: Beast's parser with a
// limit on the number of fields, and with a body that is stored only where it is wanted, in no more
// memory than its connection is given (gateway/limits/client_limits.h).
//
// For one thread at a time.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "gateway/limits/client_limits.h"

namespace shop::gateway {

// Memory that goes back to the system as soon as it is freed: an allocator would keep most of it.
struct Unmap {
  void operator()(char* block) const;
  size_t size = 0;
};
using Block = std::unique_ptr<char[], Unmap>;

// A body as it comes in. Its bytes are thrown away unless they are stored.
class IncomingBody {
 public:
  // Stores what comes from here on, at most `limit` bytes, in memory of `share`, which has to live
  // longer.
  void Store(size_t limit, ClientLimits::Share& share) {
    limit_ = limit;
    share_ = &share;
  }
  // False when there is no room for it.
  bool Append(const void* data, size_t size);

  std::string_view text() const { return {bytes(), size_}; }

 private:
  char* bytes() const { return large_ ? large_.get() : small_.get(); }
  bool Grow(size_t least);

  size_t limit_ = 0;
  ClientLimits::Share* share_ = nullptr;  // null: it is thrown away
  std::unique_ptr<char[]> small_;         // it is in this or
  Block large_;                           // in that
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// IncomingBody to Beast.
struct BeastBody {
  using value_type = IncomingBody;

  class reader {
   public:
    template <bool isRequest, class Fields>
    reader(boost::beast::http::header<isRequest, Fields>&, IncomingBody& body) : body_(body) {}
    void init(const boost::optional<uint64_t>&, boost::system::error_code& error) { error = {}; }
    template <class Buffers>
    size_t put(const Buffers& buffers, boost::system::error_code& error) {
      size_t total = 0;
      error = {};
      for (auto at = boost::asio::buffer_sequence_begin(buffers);
           at != boost::asio::buffer_sequence_end(buffers); ++at) {
        const boost::asio::const_buffer part(*at);
        if (!body_.Append(part.data(), part.size())) error = boost::beast::http::error::body_limit;
        total += part.size();
      }
      return total;
    }
    void finish(boost::system::error_code& error) { error = {}; }

   private:
    IncomingBody& body_;
  };
};

// Counts the fields, and ends with header_limit at one too many: a field may be three bytes on the
// wire, so that a limit on a header's length does not limit the memory that it takes.
//
// The fields of a trailer are counted and thrown away: they are no part of the header, and nothing
// here needs them (RFC 9112, section 7.1.2). A field that goes on in the next line ends with
// bad_obs_fold (section 5.2), and so many chunk extensions as nobody needs with buffer_overflow
// (section 7.1.1).
class RequestParser final : public boost::beast::http::request_parser<BeastBody> {
 public:
  // As Beast's: parses a part of the message, and returns how many bytes that took.
  size_t put(boost::asio::const_buffer bytes, boost::system::error_code& error);
  bool has_too_many_fields() const;
  // The memory that the fields take.
  size_t field_bytes() const { return field_bytes_; }

 private:
  void on_field_impl(boost::beast::http::field name, boost::beast::string_view text,
                     boost::beast::string_view value, boost::system::error_code& error) override;
  void on_chunk_header_impl(uint64_t size, boost::beast::string_view extensions,
                            boost::system::error_code& error) override;

  size_t fields_ = 0;
  size_t field_bytes_ = 0;
  size_t extension_bytes_ = 0;
};

}  // namespace shop::gateway
