'use strict';
const http = require('http');

const generation = process.env.SERVER_STARTER_GENERATION;
const fd = Number(process.env.SERVER_STARTER_PORT.split('=').pop());
const body = `generation ${generation} pid ${process.pid}`.padEnd(31).concat('\n').repeat(512);

const server = http.createServer((request, response) => {
  setTimeout(() => {
    response.setHeader('Content-Length', body.length);
    response.end(body);
  }, request.url === '/slow' ? Number(process.env.SLOW || 80) : 0);
});

server.listen({ fd });
process[process.env.ONCE ? 'once' : 'on']('SIGTERM', () => server.close());
