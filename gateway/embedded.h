// Files of the tree in the executable's read-only data: the assembler copies them there.
#pragma once

#include <string_view>

// Defines SYMBOL, which SHOP_EMBEDDED reads, as the bytes of the file at PATH, a string literal. In the
// global namespace of a .cpp file. ninja has to be told of the file (OBJECT_DEPENDS).
#define SHOP_EMBED(SYMBOL, PATH)       \
  asm(".section .rodata\n" #SYMBOL     \
      ":\n"                            \
      ".incbin \"" PATH "\"\n" #SYMBOL \
      "_end:\n"                        \
      ".byte 0\n"                      \
      ".previous\n");                  \
  extern "C" const char(SYMBOL)[];     \
  extern "C" const char SYMBOL##_end[]

#define SHOP_EMBEDDED(SYMBOL) std::string_view(SYMBOL, SYMBOL##_end)
