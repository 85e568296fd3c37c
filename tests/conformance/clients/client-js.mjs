import assert from 'node:assert/strict';
import { Client, HTTPTransport, JSONRPCError, RequestManager } from '@open-rpc/client-js';

const client = new Client(new RequestManager([new HTTPTransport(process.argv[2])]));

assert.deepEqual(await client.request({ method: 'list_runners', params: [] }), ['a']);

client.startBatch();
const batch = [
  client.request({ method: 'list_runners', params: [] }),
  client.request({ method: 'get_runner_status', params: { runner: 'nobody' } }).catch((error) => error.code),
];
client.stopBatch();
const [listed, code] = await Promise.all(batch);
assert.deepEqual([listed, code], [['a'], -32001]);

await client.notify({ method: 'list_runners', params: [] });

const error = await client.request({ method: 'get_runner_status', params: ['nobody'] }).catch((error) => error);
assert.ok(error instanceof JSONRPCError);
assert.equal(error.code, -32001);
assert.equal(error.data.kind, 'runner-not-found');
client.close();
