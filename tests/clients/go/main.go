// Libraries for OpenID Connect in Go, unmodified, against a node over TLS: go-oidc and x/oauth2.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const back = "https://app.example/back"

var node = os.Getenv("QUIPU_URL")

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func check(is bool, what string, said ...any) {
	if !is {
		panic(fmt.Sprint(append([]any{what, ": "}, said...)...))
	}
}

// send gives the org a command by the node's token.
func send(path string, body map[string]any) map[string]any {
	text, err := json.Marshal(body)
	must(err)
	request, err := http.NewRequest("POST", node+"/v1/orgs/acme/"+path, bytes.NewReader(text))
	must(err)
	request.Header.Set("authorization", "Bearer "+os.Getenv("QUIPU_TOKEN"))
	request.Header.Set("content-type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	must(err)
	defer answer.Body.Close()
	told, err := io.ReadAll(answer.Body)
	must(err)
	check(answer.StatusCode == 201 || answer.StatusCode == 202, path, string(told))
	var receipt map[string]any
	must(json.Unmarshal(told, &receipt))
	return receipt
}

// secretOf registers a client; its secret.
func secretOf(id string, described map[string]any) string {
	described["name"] = id
	described["authentication"] = "client_secret_basic"
	send("applications/"+id, described)
	return send("applications/"+id+"/rotate_secret", map[string]any{})["shown"].(string)
}

var (
	input  = regexp.MustCompile(`<input [^>]*>`)
	action = regexp.MustCompile(`<form [^>]*action="([^"]*)"`)
)

func attribute(tag, name string) string {
	found := regexp.MustCompile(name + `="([^"]*)"`).FindStringSubmatch(tag)
	if found == nil {
		return ""
	}
	return html.UnescapeString(found[1])
}

// signIn opens the page as a person does, signs in and says yes; where they are sent back to.
func signIn(address string) *url.URL {
	browser := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	page, err := browser.Get(address)
	must(err)
	defer page.Body.Close()
	text, err := io.ReadAll(page.Body)
	must(err)
	check(page.StatusCode == 200, "the page", string(text))
	fields := url.Values{}
	for _, tag := range input.FindAllString(string(text), -1) {
		fields.Set(attribute(tag, "name"), attribute(tag, "value"))
	}
	fields.Set("address", os.Getenv("PERSON_ADDRESS"))
	fields.Set("password", os.Getenv("PERSON_PASSWORD"))
	fields.Set("decision", "allow")
	to, err := page.Request.URL.Parse(html.UnescapeString(action.FindStringSubmatch(string(text))[1]))
	must(err)
	answer, err := browser.PostForm(to.String(), fields)
	must(err)
	defer answer.Body.Close()
	location, err := answer.Location()
	must(err)
	return location
}

func byCode(ctx context.Context, provider *oidc.Provider) {
	secret := secretOf("web_go", map[string]any{
		"grants":        []string{"authorization_code", "refresh_token"},
		"redirect_uris": []string{back},
		"scopes":        []string{"cap:openid.sign_in", "cap:openid.profile", "cap:openid.refresh", "cap:run.*"},
	})
	config := oauth2.Config{
		ClientID: "acme.web_go", ClientSecret: secret, Endpoint: provider.Endpoint(), RedirectURL: back,
		Scopes: []string{oidc.ScopeOpenID, "profile", oidc.ScopeOfflineAccess, "cap:run.*"},
	}
	verifier, nonce := oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
	asked := config.AuthCodeURL("a state", oauth2.S256ChallengeOption(verifier), oidc.Nonce(nonce))
	said := signIn(asked).Query()
	check(said.Get("state") == "a state" && said.Get("iss") == node, "sent back", said)
	first, err := config.Exchange(ctx, said.Get("code"), oauth2.VerifierOption(verifier))
	must(err)
	raw, _ := first.Extra("id_token").(string)
	identity, err := provider.Verifier(&oidc.Config{ClientID: "acme.web_go"}).Verify(ctx, raw)
	must(err)
	check(identity.Nonce == nonce && strings.HasPrefix(identity.Subject, "usr_"), "ID token", identity)
	_, err = provider.Verifier(&oidc.Config{ClientID: "acme.else"}).Verify(ctx, raw)
	check(err != nil, "taken for another client")
	access, err := provider.Verifier(&oidc.Config{ClientID: node}).Verify(ctx, first.AccessToken)
	must(err)
	check(access.Subject == identity.Subject, "access token", access)
	about, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(first))
	must(err)
	var profile struct{ Name, Email string }
	must(about.Claims(&profile))
	check(about.Subject == identity.Subject && profile.Name == "Ada" && profile.Email == "", "userinfo", about)
	next := func() (*oauth2.Token, error) {
		return config.TokenSource(ctx, &oauth2.Token{RefreshToken: first.RefreshToken}).Token()
	}
	second, err := next()
	must(err)
	check(second.RefreshToken != first.RefreshToken, "not rotated")
	_, err = next()
	var refused *oauth2.RetrieveError
	check(errors.As(err, &refused) && refused.ErrorCode == "invalid_grant", "a refresh token was good twice", err)
	_, err = provider.UserInfo(ctx, oauth2.StaticTokenSource(second))
	check(err != nil, "its family goes on")
}

func byItself(ctx context.Context, provider *oidc.Provider) {
	secret := secretOf("ci_go", map[string]any{"grants": []string{"client_credentials"}, "scopes": []string{"cap:run.*"}})
	send("principals/svc_ci_go", map[string]any{"name": "CI", "owner": "ada"})
	send("applications/ci_go/link_service", map[string]any{"service": "svc_ci_go"})
	config := clientcredentials.Config{ClientID: "acme.ci_go", ClientSecret: secret, TokenURL: provider.Endpoint().TokenURL}
	token, err := config.Token(ctx)
	must(err)
	access, err := provider.Verifier(&oidc.Config{ClientID: node}).Verify(ctx, token.AccessToken)
	must(err)
	check(access.Subject == "acme/svc_ci_go", "access token", access)
	answer, err := config.Client(ctx).Get(node + "/v1/me")
	must(err)
	defer answer.Body.Close()
	check(answer.StatusCode == 200, "its own token", answer.Status)
}

func main() {
	ctx := context.Background()
	provider, err := oidc.NewProvider(ctx, node)
	must(err)
	byCode(ctx, provider)
	byItself(ctx, provider)
	fmt.Println("done")
}
