// Prints the OpenAPI document, for tests of it that need no gateway.
#include <iostream>

#include "gateway/gateway.h"
#include "gateway/openapi/document.h"

int main() {
  std::cout << shop::gateway::OpenApiDocument(shop::gateway::DeclaredServices());
}
