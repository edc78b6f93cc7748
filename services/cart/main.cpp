#include "cart/cart_service.h"
#include "cart/cart_store.h"
#include "cart/config.h"
#include "common/core/process.h"
#include "common/rpc/client.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"

int main() {
  shop::Process process("cart");
  const auto config = shop::cart::Config::Read(process.env());
  process.Start();

  shop::cart::CartStore store(config.mongo);
  process.WaitFor("MongoDB", [&] { store.Ping(); });
  const auto watch = process.WatchReadiness("MongoDB", [&] { store.Ping(); });

  shop::rpc::Identity identity(config.identity);
  const shop::rpc::Channel products(config.products_address, &identity);
  shop::cart::CartService service(store, products, config.currency);
  const shop::rpc::Server server(config.server, identity, {service.Methods()});
  return process.RunUntilStopped();
}
