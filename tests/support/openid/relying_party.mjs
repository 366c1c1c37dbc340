// A relying party on npm's `openid-client`: reads one JSON command a line, and answers each with one line of JSON.
// Argument: JSON of `issuer`, `client_id` and, for a confidential client, `client_secret` and `method`.
import { createInterface } from "node:readline";
import * as oauth from "openid-client";

const { issuer, client_id, client_secret, method } = JSON.parse(process.argv[2]);
const authentication = client_secret ? oauth[method](client_secret) : oauth.None();
const config = await oauth.discovery(new URL(issuer), client_id, client_secret, authentication, {
  execute: [oauth.allowInsecureRequests, oauth.enableNonRepudiationChecks],
});
let device;
let sent;

const commands = {
  async metadata() {
    return config.serverMetadata();
  },
  async start_device({ scope }) {
    device = await oauth.initiateDeviceAuthorization(config, { scope });
    return device;
  },
  async poll_device() {
    return oauth.pollDeviceAuthorizationGrant(config, device);
  },
  async authorization_url({ redirect_uri, scope }) {
    const verifier = oauth.randomPKCECodeVerifier();
    sent = { verifier, state: oauth.randomState(), nonce: oauth.randomNonce() };
    return oauth.buildAuthorizationUrl(config, {
      redirect_uri,
      scope,
      state: sent.state,
      nonce: sent.nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
    });
  },
  async come_back({ url }) {
    const tokens = await oauth.authorizationCodeGrant(config, new URL(url), {
      pkceCodeVerifier: sent.verifier,
      expectedState: sent.state,
      expectedNonce: sent.nonce,
      idTokenExpected: true,
      maxAge: 3600,
    });
    return { ...tokens, claims: tokens.claims() };
  },
  refresh: ({ token }) => oauth.refreshTokenGrant(config, token),
  async end_session_url(parameters) {
    return oauth.buildEndSessionUrl(config, parameters);
  },
  userinfo: ({ token, subject }) => oauth.fetchUserInfo(config, token, subject),
  introspect: ({ token }) => oauth.tokenIntrospection(config, token),
  revoke: ({ token }) => oauth.tokenRevocation(config, token),
  as_itself: ({ scope }) => oauth.clientCredentialsGrant(config, { scope }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line);
  let answer;
  try {
    answer = { result: (await commands[command](given)) ?? null };
  } catch (error) {
    answer = { error: error.error ?? error.code ?? String(error), words: error.error_description ?? String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
