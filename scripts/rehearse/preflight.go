package main

import (
	"encoding/json"
	"net/http"
	"strings"

	lambdaevents "github.com/aws/aws-lambda-go/events"
)

// preflights gives OPTIONS to the function of the route $default, as API Gateway
// does for an API that has no CORS of its own. The emulator answers them itself,
// with a refusal.
func (r *rehearsal) preflights(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodOptions {
			next.ServeHTTP(w, req)
			return
		}
		out, err := r.invokeWeb(req)
		if err != nil {
			message(w, http.StatusInternalServerError, "Internal Server Error")
			return
		}
		for name, value := range out.Headers {
			w.Header().Set(name, value)
		}
		w.WriteHeader(out.StatusCode)
		_, _ = w.Write([]byte(out.Body)) // a client that has gone is no one's error
	})
}

func (r *rehearsal) invokeWeb(req *http.Request) (out lambdaevents.APIGatewayV2HTTPResponse, err error) {
	name, err := r.stack.function(req.Context(), "WebFunction")
	if err != nil {
		return out, err
	}
	event := lambdaevents.APIGatewayV2HTTPRequest{Version: "2.0", RouteKey: "$default", RawPath: req.URL.EscapedPath(), RawQueryString: req.URL.RawQuery, Headers: map[string]string{"host": req.Host}}
	for name, values := range req.Header {
		event.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	event.RequestContext.HTTP.Method, event.RequestContext.DomainName = req.Method, req.Host
	body, err := json.Marshal(event)
	if err != nil {
		return out, err
	}
	return out, r.stack.call(req.Context(), "lambda", http.MethodPost, "/2015-03-31/functions/"+name+"/invocations", body, &out, "Content-Type", "application/json")
}
