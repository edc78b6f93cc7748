// An operator's commands on the messages of one service: see operator.h. Which service,
// SHOP_PROCESS says; its database is reached with the service's own settings (POSTGRES_HOST, …).
#include <iostream>
#include <string>
#include <vector>

#include "common/core/env.h"
#include "common/messaging/operator.h"

int main(int count, char** words) {
  shop::Env env;
  const std::string service = env.Required("SHOP_PROCESS");
  const auto settings = shop::postgres::Settings::Read(env, service);
  for (const std::string& problem : env.problems()) std::cerr << problem << "\n";
  if (!env.problems().empty()) return 2;
  shop::postgres::Pool db(settings);
  return shop::messaging::RunOperatorCommand(
      db, service, std::vector<std::string>(words + 1, words + count), std::cout);
}
