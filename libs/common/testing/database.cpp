#include "common/testing/database.h"

#include "common/testing/servers.h"

namespace shop::testing {
namespace {

// On the server's own database, outside of any transaction.
void RunOnServer(const postgres::Settings& settings, const std::string& sql) {
  pqxx::connection connection("host=" + settings.host + " port=" + std::to_string(settings.port) +
                              " user=" + settings.user + " password='" + settings.password +
                              "' dbname=postgres connect_timeout=10");
  pqxx::nontransaction(connection).exec(sql);
}

}  // namespace

TestDatabase::TestDatabase() {
  settings_.host = Server("POSTGRES_HOST");
  settings_.port = static_cast<uint16_t>(std::stoi(Server("POSTGRES_PORT")));
  settings_.user = Server("POSTGRES_USER");
  settings_.password = Server("POSTGRES_PASSWORD");
  settings_.database = UniqueName();
  settings_.connections = 4;
  settings_.application = "test";
  RunOnServer(settings_, "CREATE DATABASE " + settings_.database);
}

TestDatabase::~TestDatabase() {
  try {
    RunOnServer(settings_, "DROP DATABASE " + settings_.database + " WITH (FORCE)");
  } catch (const std::exception&) {
    // The servers of a test run are thrown away as a whole.
  }
}

}  // namespace shop::testing
