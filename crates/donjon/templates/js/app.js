// Greets the path it is asked for.

addEventListener("fetch", (event) => {
  const name = new URL(event.request.url).pathname.slice(1);
  event.respondWith(new Response(`Hello from JavaScript, ${name}!\n`));
});
