// npm oidc-provider for the journeys: real clients, real rotation, real logout, and a login form that a program or a
// browser can fill in. It listens on 127.0.0.1 only, prints its issuer on the first line of stdout when it is ready,
// and ends on SIGTERM or SIGINT. Every secret below is fake.
//
//   node server.mjs [--port 0] [--host 127.0.0.1] [--redirect-uri URI]... [--post-logout-redirect-uri URI]...
//                   [--conform-id-token-claims true|false] [--access-token-seconds 300]
//                   [--backchannel-logout-uri URI] [--tls-certificate FILE --tls-key FILE]

import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { parseArgs } from 'node:util';

import Provider from 'oidc-provider';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    host: { type: 'string', default: '127.0.0.1' },
    'redirect-uri': { type: 'string', multiple: true, default: ['https://app.test/auth/callback'] },
    'post-logout-redirect-uri': { type: 'string', multiple: true, default: ['https://app.test/'] },
    'conform-id-token-claims': { type: 'string', default: 'true' },
    'access-token-seconds': { type: 'string', default: '300' },
    'backchannel-logout-uri': { type: 'string' },
    'tls-certificate': { type: 'string' },
    'tls-key': { type: 'string' },
  },
});

const people = {
  alice: person('alice', 'Alice Adams', true, ['staff', 'admins'], ['admin', 'editor']),
  bob: person('bob', 'Bob Brown', true, ['staff'], ['reader']),
  carol: person('carol', 'Carol Clark', false, [], []),
};

function person(login, name, verified, groups, roles) {
  return {
    sub: `subject-of-${login}`,
    name,
    preferred_username: login,
    email: `${login}@example.com`,
    email_verified: verified,
    groups,
    'https://example.com/roles': roles,
    realm_access: { roles },
  };
}

// Secrets and algorithms differ by client, so that one running provider serves every journey.
const clients = [
  client('public', { token_endpoint_auth_method: 'none' }),
  client('public-es256', { token_endpoint_auth_method: 'none', id_token_signed_response_alg: 'ES256' }),
  client('confidential', { client_secret: 'fake-secret-for-tests' }),
  client('confidential-es256', { client_secret: 'fake-secret-for-tests', id_token_signed_response_alg: 'ES256' }),
  client('confidential-post', {
    client_secret: 'fake-secret-for-tests',
    token_endpoint_auth_method: 'client_secret_post',
  }),
  client('special', { client_secret: 'fake:secret%41with+signs&more=1' }),
];

function client(id, more) {
  const backchannel = options['backchannel-logout-uri'];
  return {
    client_id: id,
    token_endpoint_auth_method: 'client_secret_basic',
    redirect_uris: options['redirect-uri'],
    post_logout_redirect_uris: options['post-logout-redirect-uri'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    id_token_signed_response_alg: 'RS256',
    ...(backchannel && { backchannel_logout_uri: backchannel, backchannel_logout_session_required: true }),
    ...more,
  };
}

// The provider's own memory adapter drops entries silently beyond 1,000; this one keeps what it is given until it expires.
class MapAdapter {
  static entries = new Map();
  static grants = new Map();

  constructor(model) {
    this.model = model;
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload, expiresIn) {
    const expiresAt = expiresIn ? Date.now() + expiresIn * 1000 : Infinity;
    MapAdapter.entries.set(this.key(id), { payload, expiresAt });
    if (payload.uid) MapAdapter.entries.set(this.key(`uid:${payload.uid}`), { payload, expiresAt });
    if (payload.grantId) {
      const keys = MapAdapter.grants.get(payload.grantId) ?? new Set();
      MapAdapter.grants.set(payload.grantId, keys.add(this.key(id)));
    }
  }

  async find(id) {
    const entry = MapAdapter.entries.get(this.key(id));
    return entry && Date.now() < entry.expiresAt ? entry.payload : undefined;
  }

  async findByUid(uid) {
    return this.find(`uid:${uid}`);
  }

  async findByUserCode() {
    return undefined;
  }

  async consume(id) {
    const entry = MapAdapter.entries.get(this.key(id));
    if (entry) entry.payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    MapAdapter.entries.delete(this.key(id));
  }

  async revokeByGrantId(grantId) {
    for (const key of MapAdapter.grants.get(grantId) ?? []) MapAdapter.entries.delete(key);
    MapAdapter.grants.delete(grantId);
  }
}

function privateKey(type, parameters, use) {
  const { privateKey: key } = generateKeyPairSync(type, parameters);
  return { ...key.export({ format: 'jwk' }), use, kid: `${type}-${use}` };
}

const configuration = {
  adapter: MapAdapter,
  clients,
  jwks: {
    keys: [
      privateKey('rsa', { modulusLength: 2048 }, 'sig'),
      privateKey('ec', { namedCurve: 'P-256' }, 'sig'),
    ],
  },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  conformIdTokenClaims: options['conform-id-token-claims'] !== 'false',
  // A refresh token whenever the client may have one: with the honest default, offline_access needs prompt=consent too.
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  claims: {
    openid: ['sub'],
    profile: ['name', 'preferred_username', 'groups', 'https://example.com/roles', 'realm_access'],
    email: ['email', 'email_verified'],
  },
  scopes: ['openid', 'offline_access', 'profile', 'email'],
  cookies: { keys: [randomBytes(32).toString('hex')] },
  ttl: { AccessToken: Number(options['access-token-seconds']), AuthorizationCode: 60, IdToken: 300 },
  features: {
    devInteractions: { enabled: false },
    revocation: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true, logoutSource: logoutPage },
  },
  // The dispatcher of the provider's own guard refuses loopback, which is where the application under test listens.
  fetch: (url, { dispatcher, ...rest }) => globalThis.fetch(url, rest),
  findAccount: (ctx, login) =>
    people[login] && { accountId: login, claims: () => people[login] },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
};

function page(title, body) {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${body}</html>`;
}

// The form holds the provider's hidden `xsrf` field; the button adds `logout=yes`.
function logoutPage(ctx, form) {
  const button = '<button id="logout" type="submit" form="op.logoutForm" name="logout" value="yes">Sign out</button>';
  ctx.body = page('Sign out', `${form}${button}`);
}

function loginPage(uid) {
  const buttons = Object.keys(people).map(
    (login) => `<button id="login-${login}" type="submit" name="login" value="${login}">${people[login].name}</button>`,
  );
  return page('Sign in', `<form id="login" method="post" action="/interaction/${uid}">${buttons.join(' ')}</form>`);
}

// GET shows the people, or signs in at once whom `login_hint` names; POST takes `login=NAME`.
async function interact(provider, request, response) {
  const details = await provider.interactionDetails(request, response);
  const login = request.method === 'POST' ? (await form(request)).get('login') : details.params.login_hint;
  if (!Object.hasOwn(people, login ?? '')) {
    const status = request.method === 'POST' ? 400 : 200;
    response.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
    response.end(loginPage(details.uid));
    return;
  }
  const grant = new provider.Grant({ accountId: login, clientId: details.params.client_id });
  grant.addOIDCScope(details.params.scope);
  const result = { login: { accountId: login }, consent: { grantId: await grant.save() } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

async function form(request) {
  let text = '';
  for await (const chunk of request) {
    text += chunk;
    if (text.length > 4096) throw new Error('the form is too long');
  }
  return new URLSearchParams(text);
}

const tls = options['tls-certificate'] && {
  cert: readFileSync(options['tls-certificate']),
  key: readFileSync(options['tls-key']),
};
const server = tls ? https.createServer(tls) : http.createServer();

server.listen(Number(options.port), '127.0.0.1', () => {
  const issuer = `${tls ? 'https' : 'http'}://${options.host}:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  const answer = provider.callback();
  server.on('request', (request, response) => {
    if (!request.url.startsWith('/interaction/')) {
      answer(request, response);
      return;
    }
    interact(provider, request, response).catch((error) => {
      response.writeHead(400, { 'content-type': 'text/plain; charset=utf-8' });
      response.end(`${error.message}\n`);
    });
  });
  console.log(issuer);
});

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    server.closeAllConnections();
    server.close(() => process.exit(0));
  });
}
