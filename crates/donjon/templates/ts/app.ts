// Greets the path it is asked for.

interface FetchEvent extends Event {
  readonly request: Request;
  respondWith(response: Response | Promise<Response>): void;
}

addEventListener("fetch", (event) => {
  const fetched = event as FetchEvent;
  const name: string = new URL(fetched.request.url).pathname.slice(1);
  fetched.respondWith(new Response(`Hello from TypeScript, ${name}!\n`));
});
