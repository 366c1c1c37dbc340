// An OpenID Connect provider that signs everybody in as the person it was last told: `POST /person` with their claims.
// Argument: JSON of `port`, and of the one client's `client_id`, `client_secret` and `redirect_uris`.
import Provider from "oidc-provider";

const { port, ...client } = JSON.parse(process.argv[2]);
const people = new Map();
let current;

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "preferred_username", "groups"] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_, sub) => ({ accountId: sub, claims: () => people.get(sub) }),
  async loadExistingGrant(context) {
    const grant = new context.oidc.provider.Grant({
      clientId: context.oidc.client.clientId,
      accountId: context.oidc.session.accountId,
    });
    grant.addOIDCScope("openid email profile");
    await grant.save();
    return grant;
  },
});

provider.use(async (context, next) => {
  if (context.path === "/person" && context.method === "POST") {
    let text = "";
    for await (const chunk of context.req) text += chunk;
    current = JSON.parse(text);
    people.set(current.sub, current);
    context.status = 204;
  } else if (context.path.startsWith("/interaction/")) {
    const answer = current.declines
      ? { error: "access_denied", error_description: "The person declined." }
      : { login: { accountId: current.sub } };
    await provider.interactionFinished(context.req, context.res, answer);
    context.respond = false;
  } else {
    await next();
  }
});

const server = provider.listen(port, "127.0.0.1", () => console.log("listening"));
process.stdin.on("end", () => server.close(() => process.exit())).resume();
