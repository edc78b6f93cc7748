#include "cart/cart_service.h"
#include "cart/cart_store.h"
#include "cart/config.h"
#include "common/core/process.h"
#include "common/kafka/revocations.h"
#include "common/rpc/client.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"

int main() {
  using namespace shop;
  Process process("cart");
  const cart::Config config = cart::Config::Read(process.env());
  process.Start();

  cart::CartStore store(config.mongo);
  process.WaitFor("MongoDB", [&] { store.Ping(); });
  const auto watch = process.WatchReadiness("MongoDB", [&] { store.Ping(); });

  rpc::Identity identity(config.service.identity);
  const kafka::Revocations revocations(config.kafka, identity.users(), process);
  const rpc::Channel products("products", config.products_address, identity);
  cart::CartService service(store, products, config.currency);
  const rpc::Server server(config.service.server, identity, {service.Methods()});
  return process.RunUntilStopped();
}
