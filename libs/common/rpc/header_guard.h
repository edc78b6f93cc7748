// A limit on the header blocks of gRPC's clients, before gRPC reads them.
//
// A client may begin a header field that is gigabytes long and send it in CONTINUATION frames that never end
// it (CERT VU#421644). gRPC 1.51 reads what it has of such a field again with each frame and limits only fields
// that are whole: 23 MB took half a minute of a core. Nothing in its interface sees bytes before it does. It
// reads its sockets by recvmsg(2), however, and a process's own definition of a function comes before that
// of a shared library. So header_guard.cpp defines recvmsg, accept4 and close for the whole process, follows
// the frames of the HTTP/2 connections that it accepts, and ends one whose header block is too long.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace shop::rpc {

// How long the header block of a connection is that came last (RFC 9113, 4.1 and 4.3). For one
// thread at a time.
class HeaderBlockMeter {
 public:
  // With its frames' own headers, so that empty ones count too. gRPC takes 8 KB of metadata.
  static constexpr size_t kLongestBlock = 32 * 1024;

  // The bytes that come next: false once a header block is too long. A connection that does not begin as
  // HTTP/2 does is none of its business.
  bool Take(std::string_view bytes);

 private:
  static constexpr size_t kFrameHeader = 9;

  bool TakeFrameHeader();

  uint8_t of_preface_ =
      0;  // how much of the connection preface has come; more than all: not HTTP/2
  uint8_t of_header_ = 0;
  std::array<uint8_t, kFrameHeader> header_{};
  uint32_t payload_left_ = 0;
  size_t block_ = 0;
};

// From now on, for all connections that this process accepts.
void GuardHeaders();

}  // namespace shop::rpc
