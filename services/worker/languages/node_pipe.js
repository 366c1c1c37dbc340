// Serves a JavaScript algorithm over the pipe protocol: `node node_pipe.js NAME` in the repository's root.
//
// Loads src/NAME.js, which exports apply(input, callback) with callback(error, result); an apply that returns a
// promise may leave the callback out. Requests come as lines of JSON on standard input, answers go as lines of JSON
// to the named pipe in CONSTELLATION_PIPE, opened for each of them.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');

const READY = 'PIPE_INIT_COMPLETE';
const name = process.argv[2];
const pipe = process.env.CONSTELLATION_PIPE || '/tmp/algoout';

function decode(request) {
  return request.content_type === 'binary' ? Buffer.from(request.data, 'base64') : request.data;
}

function encode(result) {
  if (Buffer.isBuffer(result) || result instanceof Uint8Array) {
    return { result: Buffer.from(result).toString('base64'), metadata: { content_type: 'binary' } };
  }
  const kind = typeof result === 'string' ? 'text' : 'json';
  return { result: result === undefined ? null : result, metadata: { content_type: kind } };
}

function describe(error) {
  const isError = error instanceof Error;
  return {
    error: {
      message: isError ? error.message : String(error),
      stacktrace: isError ? String(error.stack) : '',
      error_type: (error && (error.errorType || error.error_type)) || 'AlgorithmError',
    },
  };
}

function answer(content) {
  let text;
  try {
    text = JSON.stringify(content);
  } catch (error) {
    text = JSON.stringify(describe(error));
  }
  fs.writeFileSync(pipe, `${text}\n`);
}

function call(apply, input) {
  return new Promise((resolve, reject) => {
    const returned = apply(input, (error, result) => (error ? reject(error) : resolve(result)));
    if (returned && typeof returned.then === 'function') {
      returned.then(resolve, reject);
    } else if (apply.length < 2) {
      resolve(returned);
    }
  });
}

async function main() {
  const algorithm = require(path.resolve('src', `${name}.js`));
  if (typeof algorithm.apply !== 'function') {
    throw new TypeError(`src/${name}.js exports no apply function. Write exports.apply = (input, callback) => ...`);
  }
  console.log(READY);
  for await (const line of readline.createInterface({ input: process.stdin })) {
    try {
      answer(encode(await call(algorithm.apply, decode(JSON.parse(line)))));
    } catch (error) {
      answer(describe(error));
    }
  }
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
