// An OpenID Connect provider whose device codes are approved as they are issued, in the same request.
// Argument: JSON of `port`, of `client`, the id of the one client, and of `database`, where it keeps everything.
import { generateKeyPairSync } from "node:crypto";

import Provider from "oidc-provider";

import { postgresAdapter } from "./postgres_adapter.mjs";

const ACCOUNT = "admin";
const DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code";

const { port, client, database } = JSON.parse(process.argv[2]);
// RS256 with as many bits as fakts has.
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

const provider = new Provider(`http://127.0.0.1:${port}`, {
  adapter: await postgresAdapter(database),
  clients: [
    {
      client_id: client,
      token_endpoint_auth_method: "none",
      application_type: "native",
      grant_types: [DEVICE_GRANT, "refresh_token"],
      response_types: [],
      redirect_uris: [],
    },
  ],
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), kid: "bench", use: "sig", alg: "RS256" }] },
  cookies: { keys: ["bench"] },
  features: { deviceFlow: { enabled: true }, devInteractions: { enabled: false } },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
});

async function approve(userCode) {
  const code = await provider.DeviceCode.findByUserCode(userCode.replace("-", ""));
  const grant = new provider.Grant({ clientId: code.clientId, accountId: ACCOUNT });
  grant.addOIDCScope(code.params.scope);
  code.grantId = await grant.save();
  code.accountId = ACCOUNT;
  code.scope = code.params.scope;
  code.authTime = Math.floor(Date.now() / 1000);
  await code.save();
}

provider.use(async (context, next) => {
  await next();
  if (context.path === "/device/auth" && context.status === 200) await approve(context.body.user_code);
});
provider.on("server_error", (_, error) => console.error(error));

const server = provider.listen(port, "127.0.0.1");
server.keepAliveTimeout = 60_000;
process.on("SIGTERM", () => process.exit());
