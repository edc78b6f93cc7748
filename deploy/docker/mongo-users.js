// MongoDB's users: root, and the cart service's own, which can open its database and no other. Run by mongosh
// on MongoDB's own loopback at every start: what is there stays, and the cart's password becomes what its file
// says. A start that was cut off anywhere is completed by the next one.
const secret = (name) => require("fs").readFileSync("/run/secrets/" + name, "utf8").trim();
const root = {user: "root", pwd: secret("mongo_root_password")};

const admin = connect("mongodb://127.0.0.1:27017/admin");
try {
  admin.auth(root.user, root.pwd);
} catch (refused) {
  // Allowed while there is no user at all.
  try {
    admin.createUser({...root, roles: ["root"]});
  } catch (error) {
    print("MongoDB's data was made with another MONGO_ROOT_PASSWORD: " + error.message);
    quit(1);
  }
  admin.auth(root.user, root.pwd);
}

const cart = admin.getSiblingDB("cart");
const wanted = {pwd: secret("mongo_cart_password"), roles: [{role: "readWrite", db: "cart"}]};
if (cart.getUser("cart")) {
  cart.updateUser("cart", wanted);
} else {
  cart.createUser({user: "cart", ...wanted});
}
print("user cart is there");
