#include "common/crypto/random.h"

#include <openssl/rand.h>

#include <cstdint>
#include <stdexcept>

namespace shop {

void FillRandom(void* bytes, size_t size) {
  if (RAND_bytes(static_cast<unsigned char*>(bytes), static_cast<int>(size)) != 1) {
    throw std::runtime_error("no random bytes");
  }
}

std::mt19937_64& ThreadRandom() {
  thread_local std::mt19937_64 generator{[] {
    uint64_t seed = 0;
    FillRandom(&seed, sizeof seed);
    return seed;
  }()};
  return generator;
}

}  // namespace shop
