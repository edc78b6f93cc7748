// The two sources of random numbers.
#pragma once

#include <array>
#include <cstddef>
#include <random>

namespace shop {

// Fills `size` bytes that nobody can guess: for ids, salts and whatever is a secret. Throws
// std::runtime_error when the system has none to give. Thread-safe.
void FillRandom(void* bytes, size_t size);

template <size_t kSize>
std::array<unsigned char, kSize> RandomBytes() {
  std::array<unsigned char, kSize> bytes;
  FillRandom(bytes.data(), kSize);
  return bytes;
}

// The calling thread's own generator, seeded by the above: quick, and no secret, as its numbers
// tell the next ones. For pauses and the ids of traces.
std::mt19937_64& ThreadRandom();

}  // namespace shop
