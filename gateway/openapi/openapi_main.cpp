// Prints the OpenAPI document, for tests of it that need no gateway.
#include <iostream>

#include "gateway/openapi/document.h"
#include "gateway/services.h"

int main() {
  std::cout << shop::gateway::OpenApiDocument(shop::gateway::DeclaredServices());
}
