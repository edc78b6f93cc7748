// std::unique_ptr for what a C library makes and has to free.
#pragma once

namespace shop {

//   using BigNumber = std::unique_ptr<BIGNUM, Freed<BN_free>>;
template <auto Free>
struct Freed {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};

}  // namespace shop
