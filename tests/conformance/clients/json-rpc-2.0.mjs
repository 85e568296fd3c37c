import assert from 'node:assert/strict';
import { JSONRPCClient, JSONRPCErrorException } from 'json-rpc-2.0';

const client = new JSONRPCClient(async (request) => {
  const response = await fetch(process.argv[2], {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(request),
  });
  if (response.status === 200) {
    client.receive(await response.json());
  } else {
    assert.equal(response.status, 204);
    assert.equal(request.id, undefined);
  }
});

assert.deepEqual(await client.request('list_runners', []), ['a']);

const batch = await client.requestAdvanced([
  { jsonrpc: '2.0', id: 'one', method: 'list_runners' },
  { jsonrpc: '2.0', id: 'two', method: 'get_runner_status', params: { runner: 'nobody' } },
]);
assert.deepEqual(batch.map((answer) => [answer.id, answer.result ?? answer.error.code]), [['one', ['a']], ['two', -32001]]);

await client.notify('list_runners', []);

const error = await client.request('get_runner_status', ['nobody']).then(assert.fail, (error) => error);
assert.ok(error instanceof JSONRPCErrorException);
assert.deepEqual([error.code, error.data.kind], [-32001, 'runner-not-found']);
