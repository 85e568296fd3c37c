import assert from 'node:assert/strict';
import { Client, JSONRPCError, RequestManager, WebSocketTransport } from '@open-rpc/client-js';

const url = process.argv[2].replace('http:', 'ws:');
const client = new Client(new RequestManager([new WebSocketTransport(`${url}/ws`)]));

assert.deepEqual(await client.request({ method: 'list_runners', params: [] }), ['a']);

const all = await Promise.all([...Array(50).keys()].map(() => client.request({ method: 'list_runners', params: [] })));
assert.equal(all.length, 50);

client.startBatch();
const batch = [
  client.request({ method: 'list_runners', params: [] }),
  client.request({ method: 'get_runner_status', params: { runner: 'nobody' } }).catch((error) => error.code),
];
client.stopBatch();
assert.deepEqual(await Promise.all(batch), [['a'], -32001]);

const error = await client.request({ method: 'get_runner_status', params: ['nobody'] }).catch((error) => error);
assert.ok(error instanceof JSONRPCError);
assert.equal(error.data.kind, 'runner-not-found');

const told = new Promise((resolve) => client.onNotification(resolve));
const id = await client.request({ method: 'events_subscribe', params: { topics: ['operation'] } });
await client.request({ method: 'start_all', params: [] });
const { method, params } = await told;
assert.equal(method, 'events_subscription');
assert.equal(params.subscription, id);
assert.equal(params.result.topic, 'operation');
assert.equal(params.result.data.verb, 'start');
assert.equal(await client.request({ method: 'events_unsubscribe', params: [id] }), true);
client.close();
