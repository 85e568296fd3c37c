import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import utils from '@open-rpc/schema-utils-js';

const require = createRequire(import.meta.url);
const testCoverage = require('@open-rpc/test-coverage').default;
const ExamplesRule = require('@open-rpc/test-coverage/build/rules/examples-rule').default;

const [, , url, order] = process.argv;
const document = await (await fetch(new URL('/openrpc.json', url))).json();
// Its validator knows no formats, and refuses schemas that name one.
const plain = JSON.parse(JSON.stringify(document), (key, value) => (key === 'format' ? undefined : value));
const { methods, ...rest } = await utils.parseOpenRPCDocument(plain);
// Examples use what those before them have made.
const position = JSON.parse(order);
methods.sort((one, other) => position.indexOf(one.name) - position.indexOf(other.name));

const made = {}; // ids of operations, which are made anew each time
const transport = async (_, method, params) => {
  const sent = JSON.parse(JSON.stringify(params), (_, value) => made[value] ?? value);
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: sent }),
  });
  const answer = await response.json();
  if (method === 'operate_runners') {
    made[methods.find(({ name }) => name === method).examples[0].result.value.id] = answer.result.id;
  }
  return answer;
};

let calls;
const reporter = { onBegin() {}, onTestBegin() {}, onTestEnd() {}, onEnd: (_, all) => (calls = all) };
await testCoverage({
  openrpcDocument: { ...rest, methods },
  transport,
  reporters: [reporter],
  rules: [new ExamplesRule({ only: [], skip: [] })],
  skip: [],
  only: [],
});
const failed = calls.filter((call) => !call.valid).map((call) => [call.methodName, call.reason, call.result, call.requestError]);
assert.deepEqual(failed, []);
assert.equal(calls.length, methods.length);
