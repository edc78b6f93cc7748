// grpc-gateway before the products service, as a peer for our gateway: what its documentation shows, and nothing
// tuned. Its handlers are generated from our protos by build.sh, into a folder that is thrown away.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"grpcgateway/products"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "where to listen")
	service := flag.String("products", "127.0.0.1:7003", "where the products service is")
	flag.Parse()

	// Our gateway gives each call this long.
	runtime.DefaultContextTimeout = 10 * time.Second
	handler := runtime.NewServeMux()
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if err := products.RegisterProductsServiceHandlerFromEndpoint(context.Background(), handler, *service, options); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(*listen, handler))
}
