"""The web app: people, their recordings and motions in a browser, and a queue of work that outlives the server."""
