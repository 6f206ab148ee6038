// Asks the Berth of this container whether it is alive, as HEALTHCHECK of the Dockerfile. A lost database is not asked
// about (that is /readyz): some orchestrators restart what is unhealthy, and a restart heals no database.
import http from 'node:http';
import https from 'node:https';

const timeoutMs = 4000;
const [, host, port] = /^\[?(.*?)\]?:(\d+)$/.exec(process.env.BERTH_LISTEN);
const hostname = { '0.0.0.0': '127.0.0.1', '::': '::1' }[host] ?? host;

/** @returns whether it said 200 */
function isHealthy(protocol) {
  return new Promise((resolve) => {
    // The certificate names the address that clients type, which is not this one.
    const options = { hostname, port, path: '/healthz', timeout: timeoutMs, rejectUnauthorized: false, agent: false };
    const request = protocol.get(options, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}

// TLS may be set in a file that is not read here.
const protocols = process.env.BERTH_TLS_CERT === undefined ? [http, https] : [https];
for (const protocol of protocols) if (await isHealthy(protocol)) process.exit(0);
process.exit(1);
