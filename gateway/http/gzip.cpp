#include "gateway/http/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <stdexcept>

namespace shop::gateway {
namespace {

constexpr int kGzipFormat = 16;  // added to the window's bits

class Deflater {
 public:
  explicit Deflater(int level) {
    if (deflateInit2(&stream_, level, Z_DEFLATED, MAX_WBITS + kGzipFormat, MAX_MEM_LEVEL - 1,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
      throw std::runtime_error("cannot compress: no memory");
    }
  }
  ~Deflater() { deflateEnd(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  std::string Run(std::string_view text) {
    deflateReset(&stream_);
    std::string out(deflateBound(&stream_, text.size()), '\0');
    // zlib only reads it.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream_.avail_in = static_cast<uInt>(text.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    if (deflate(&stream_, Z_FINISH) != Z_STREAM_END) throw std::runtime_error("cannot compress");
    out.resize(stream_.total_out);
    return out;
  }

 private:
  z_stream stream_{};
};

// `0.5` in thousandths; -1 when it is no weight.
int Weight(std::string_view text) {
  if (text.empty() || text.size() > 5 || (text[0] != '0' && text[0] != '1')) return -1;
  if (text.size() > 1 && text[1] != '.') return -1;
  int weight = (text[0] - '0') * 1000;
  int place = 100;
  for (const char digit : text.substr(std::min<size_t>(2, text.size()))) {
    if (digit < '0' || digit > '9') return -1;
    weight += (digit - '0') * place;
    place /= 10;
  }
  return weight <= 1000 ? weight : -1;
}

}  // namespace

bool AcceptsGzip(const HttpRequest& request) {
  int gzip = -1, identity = -1, others = -1;  // weights, -1 where nothing is said
  for (const auto& [header, value] : request.headers) {
    if (!EqualsIgnoringCase(header, "accept-encoding")) continue;
    for (const std::string_view element : Split(value, ',')) {
      const size_t semicolon = std::min(element.find(';'), element.size());
      const std::string_view coding = Trim(element.substr(0, semicolon));
      int weight = 1000;
      if (semicolon < element.size()) {
        const std::string_view parameter = Trim(element.substr(semicolon + 1));
        const bool is_weight = parameter.starts_with("q=") || parameter.starts_with("Q=");
        weight = is_weight ? Weight(parameter.substr(2)) : -1;
      }
      if (weight < 0) continue;  // not well-formed: as if it were not there
      if (EqualsIgnoringCase(coding, "gzip") || EqualsIgnoringCase(coding, "x-gzip")) {
        gzip = std::max(gzip, weight);
      } else if (EqualsIgnoringCase(coding, "identity")) {
        identity = weight;
      } else if (coding == "*") {
        others = weight;
      }
    }
  }
  if (gzip < 0) gzip = others;
  if (identity < 0) identity = others;
  return gzip > 0 && gzip >= identity;
}

std::string Gzip(std::string_view body) {
  // Setting one up takes longer than a small body.
  thread_local Deflater fastest(Z_BEST_SPEED);
  return fastest.Run(body);
}

std::string GzipSmall(std::string_view body) {
  return Deflater(Z_BEST_COMPRESSION).Run(body);
}

}  // namespace shop::gateway
