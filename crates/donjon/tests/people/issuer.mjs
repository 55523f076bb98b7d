// An issuer of ID tokens for tests: `oidc-provider` of npm, as it is, with what a person does in a browser as a request.
//
// Prints its URL. POST /test/approve?user_code=…&account=… is somebody who confirms; POST /test/deny?user_code=… one who refuses;
// POST /test/rotate gives it another key, and forgets everybody. Accounts that begin with "new" have no verified address.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import Provider from 'oidc-provider';

let keys = 0;
let provider;

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://127.0.0.1');
  if (!url.pathname.startsWith('/test/')) return provider.callback()(request, response);
  test(url).then(
    () => response.writeHead(204).end(),
    (error) => response.writeHead(500).end(String(error.stack)),
  );
});

async function test({ pathname, searchParams }) {
  if (pathname === '/test/rotate') return make();
  const code = await provider.DeviceCode.findByUserCode(searchParams.get('user_code').replace(/\W/g, '').toUpperCase());
  if (pathname === '/test/deny') {
    Object.assign(code, { error: 'access_denied', errorDescription: 'somebody refused' });
    return code.save();
  }
  const accountId = searchParams.get('account');
  const grant = new provider.Grant({ accountId, clientId: code.clientId });
  grant.addOIDCScope(code.params.scope);
  grant.addOIDCClaims(['email', 'email_verified']);
  const claims = code.params.claims ? JSON.parse(code.params.claims) : {};
  const said = { accountId, grantId: await grant.save(), scope: code.params.scope, claims };
  Object.assign(code, said, { authTime: Math.floor(Date.now() / 1000) });
  await code.save();
}

function make() {
  keys += 1;
  const key = (kind, options, more) =>
    ({ ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }), kid: `${kind} ${keys}`, use: 'sig', ...more });
  const device = 'urn:ietf:params:oauth:grant-type:device_code';
  const client = (client_id, id_token_signed_response_alg) => ({
    client_id, id_token_signed_response_alg, grant_types: [device], redirect_uris: [], response_types: [],
    token_endpoint_auth_method: 'none', application_type: 'native',
  });
  provider = new Provider(issuer, {
    clients: [client('donjon', 'RS256'), client('donjon-ec', 'ES256'), client('another', 'RS256')],
    jwks: { keys: [key('rsa', { modulusLength: 2048 }, { alg: 'RS256' }), key('ec', { namedCurve: 'P-256' }, { alg: 'ES256' })] },
    features: { deviceFlow: { enabled: true }, claimsParameter: { enabled: true } },
    claims: { openid: ['sub'], email: ['email', 'email_verified'] },
    cookies: { keys: ['of a test'] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@example.org`, email_verified: !id.startsWith('new') }),
    }),
  });
}

server.listen(0, '127.0.0.1');
await new Promise((done) => server.on('listening', done));
const issuer = `http://127.0.0.1:${server.address().port}`;
make();
console.log(issuer);
