// The cart service's own user, made when the server starts with no data.
db.getSiblingDB("cart").createUser({
  user: "cart",
  pwd: process.env.MONGO_CART_PASSWORD,
  roles: [{role: "readWrite", db: "cart"}],
});
